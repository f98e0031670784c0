"""pika (BlockingConnection) as a scenario client in a process of its own.

Reads one JSON command a line from stdin: {"id", "op", "connection" | "channel", ...}, and writes one JSON line
per answer ({"id", "result"} or {"id", "error"}) and per event ({"event", ...}). Bodies are base64. The process
ends when stdin ends. pika only notices what the broker sends while it is asked to look, so the loop looks at
every connection whenever no command waits.
"""
import base64
import datetime
import json
import queue
import socket
import ssl
import sys
import threading

import pika

PROPERTIES = ["content-type", "content-encoding", "headers", "delivery-mode", "priority", "correlation-id",
              "reply-to", "expiration", "message-id", "timestamp", "type", "user-id", "app-id", "cluster-id"]

commands = queue.Queue()
connections = {}
channels = {}


def read_commands():
    for line in sys.stdin:
        commands.put(json.loads(line))
    commands.put(None)


def write(line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def to_value(value):
    """Scenario notation -> pika."""
    if isinstance(value, list):
        return [to_value(each) for each in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("$")
    if kind == "timestamp":
        return datetime.datetime.fromtimestamp(value["seconds"], datetime.timezone.utc)
    if kind == "double":
        return float(value["value"])
    if kind == "bytes":
        return bytes.fromhex(value["hex"])
    return {key: to_value(each) for key, each in value.items()}


def from_value(value):
    """pika -> scenario notation."""
    if isinstance(value, list):
        return [from_value(each) for each in value]
    if isinstance(value, dict):
        return {key: from_value(each) for key, each in value.items()}
    if isinstance(value, float):
        return {"$": "double", "value": value}
    if isinstance(value, (bytes, bytearray)):
        return {"$": "bytes", "hex": bytes(value).hex()}
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.timezone.utc)
        return {"$": "timestamp", "seconds": int(value.timestamp())}
    return value


def to_properties(given):
    fields = {name.replace("-", "_"): value for name, value in given.items()}
    if "headers" in fields:
        fields["headers"] = to_value(fields["headers"])
    return pika.BasicProperties(**fields)


def from_properties(properties):
    result = {}
    for name in PROPERTIES:
        value = getattr(properties, name.replace("-", "_"))
        if value is not None:
            result[name] = from_value(value)
    return result


def from_message(method, properties, body):
    return {"tag": method.delivery_tag, "redelivered": method.redelivered, "exchange": method.exchange,
            "key": method.routing_key, "properties": from_properties(properties),
            "body": base64.b64encode(body).decode()}


def reason_of(reason):
    """pika tells the broker's code and text as an exception; a lost socket has neither."""
    closed_by_broker = isinstance(reason, (pika.exceptions.ConnectionClosedByBroker,
                                           pika.exceptions.ChannelClosedByBroker))
    if not closed_by_broker:
        return {"code": 0, "text": ""}
    return {"code": reason.reply_code, "text": reason.reply_text}


def connect(command):
    options = command["options"]
    tls = None
    if "certificateFile" in options:
        tls = pika.SSLOptions(ssl.create_default_context(cafile=options["certificateFile"]), options["host"])
    try:
        connection = pika.BlockingConnection(pika.ConnectionParameters(
            host=options["host"], port=options["port"], virtual_host=options["vhost"],
            credentials=pika.PlainCredentials(options["user"], options["password"]),
            heartbeat=options["heartbeatS"], frame_max=options["frameMaxBytes"], ssl_options=tls,
            connection_attempts=1, blocked_connection_timeout=20))
    except pika.exceptions.AMQPError as error:
        name = command["connection"]
        write({"event": "connection-closed", "connection": name, **handshake_reason(error)})
        raise
    name = command["connection"]
    connections[name] = connection
    connection._impl.add_on_close_callback(
        lambda _, reason: write({"event": "connection-closed", "connection": name, **reason_of(reason)}))


def handshake_reason(error):
    """During the handshake pika wraps the broker's close: ProbableAuthenticationError: ...: (403, 'text')."""
    for each in [error, *error.args]:
        if isinstance(each, (pika.exceptions.ConnectionClosedByBroker)):
            return reason_of(each)
    text = str(error)
    start = text.find("ConnectionClosedByBroker: (")
    if start < 0:
        return {"code": 0, "text": ""}
    code, _, rest = text[start + len("ConnectionClosedByBroker: ("):].partition(") ")
    return {"code": int(code), "text": rest.strip("'\"").rstrip("')\"")}


def open_channel(command):
    name = command["channel"]
    channel = connections[command["connection"]].channel()
    channels[name] = channel
    channel._impl.add_on_close_callback(
        lambda _, reason: write({"event": "channel-closed", "channel": name, **reason_of(reason)}))
    channel.add_on_cancel_callback(
        lambda frame: write({"event": "cancelled", "channel": name, "consumer": frame.method.consumer_tag}))
    if command["confirms"]:
        channel.confirm_delivery()  # returns then come as UnroutableError of the publish
        return
    channel.add_on_return_callback(
        lambda _, method, __, body: write({"event": "return", "channel": name, "code": method.reply_code,
                                           "text": method.reply_text, "body": base64.b64encode(body).decode()}))


def publish(channel, command):
    """In confirm mode pika waits for the broker's answer and raises when it was a return or a nack."""
    name = command["channel"]
    try:
        channel.basic_publish(command["exchange"], command["key"], base64.b64decode(command["body"]),
                              to_properties(command["properties"]), command["mandatory"])
    except pika.exceptions.UnroutableError as error:
        for each in error.messages:
            write({"event": "return", "channel": name, "code": each.method.reply_code,
                   "text": each.method.reply_text, "body": base64.b64encode(each.body).decode()})
    except pika.exceptions.NackError:
        write({"event": "confirm", "channel": name, "positive": False})
        return
    if command["confirms"]:
        write({"event": "confirm", "channel": name, "positive": True})


def consume(channel, command):
    name, tag = command["channel"], command["tag"]

    def take(_, method, properties, body):
        write({"event": "deliver", "channel": name, "consumer": tag, **from_message(method, properties, body)})

    channel.basic_consume(command["queue"], take, auto_ack=command["noAck"], exclusive=command["exclusive"],
                          consumer_tag=tag, arguments=to_value(command["arguments"]))


def get(channel, command):
    method, properties, body = channel.basic_get(command["queue"], command["noAck"])
    if method is None:
        return None
    return {**from_message(method, properties, body), "left": method.message_count}


def declare_queue(channel, command):
    method = channel.queue_declare(command["queue"], passive=command["passive"], durable=command["durable"],
                                   exclusive=command["exclusive"], auto_delete=command["autoDelete"],
                                   arguments=to_value(command["arguments"])).method
    return {"queue": method.queue, "messages": method.message_count, "consumers": method.consumer_count}


CHANNEL_OPS = {
    "declare-queue": declare_queue,
    "delete-queue": lambda ch, c: ch.queue_delete(c["queue"], c["ifUnused"], c["ifEmpty"]).method.message_count,
    "purge-queue": lambda ch, c: ch.queue_purge(c["queue"]).method.message_count,
    "bind-queue": lambda ch, c: ch.queue_bind(c["queue"], c["exchange"], c["key"], to_value(c["arguments"])),
    "unbind-queue": lambda ch, c: ch.queue_unbind(c["queue"], c["exchange"], c["key"], to_value(c["arguments"])),
    "bind-exchange": lambda ch, c: ch.exchange_bind(
        c["destination"], c["source"], c["key"], to_value(c["arguments"])),
    "unbind-exchange": lambda ch, c: ch.exchange_unbind(
        c["destination"], c["source"], c["key"], to_value(c["arguments"])),
    "transaction": lambda ch, c: {"select": ch.tx_select, "commit": ch.tx_commit, "rollback": ch.tx_rollback}[
        c["step"]](),
    "declare-exchange": lambda ch, c: ch.exchange_declare(
        c["exchange"], c["type"], passive=c["passive"], durable=c["durable"], auto_delete=c["autoDelete"],
        internal=c["internal"], arguments=to_value(c["arguments"])),
    "delete-exchange": lambda ch, c: ch.exchange_delete(c["exchange"], c["ifUnused"]),
    "publish": publish,
    "consume": consume,
    "cancel": lambda ch, c: ch.basic_cancel(c["consumer"]),
    "get": get,
    "ack": lambda ch, c: ch.basic_ack(c["tag"], c["multiple"]),
    "nack": lambda ch, c: ch.basic_nack(c["tag"], c["multiple"], c["requeue"]),
    "reject": lambda ch, c: ch.basic_reject(c["tag"], c["requeue"]),
    "qos": lambda ch, c: ch.basic_qos(0, c["count"], c["global"]),
    "recover": lambda ch, c: ch.basic_recover(c["requeue"]),
    "close-channel": lambda ch, c: ch.close(),
}

RESULTLESS = {"publish", "consume", "bind-queue", "unbind-queue", "bind-exchange", "unbind-exchange", "transaction",
              "declare-exchange", "delete-exchange", "cancel",
              "qos", "recover", "ack", "nack", "reject", "close-channel"}


def drop(connection):
    """Cuts the socket without a word; pika finds it lost the next time it looks."""
    connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)


def run(command):
    op = command["op"]
    if op == "connect":
        return connect(command)
    if op == "open-channel":
        return open_channel(command)
    if op == "close-connection":
        return connections.pop(command["connection"]).close()
    if op == "drop-connection":
        return drop(connections[command["connection"]])
    result = CHANNEL_OPS[op](channels[command["channel"]], command)
    return None if op in RESULTLESS else result


def look_at_connections():
    for name, connection in list(connections.items()):
        if connection.is_closed:
            connections.pop(name, None)
            continue
        try:
            connection.process_data_events(time_limit=0)
        except (pika.exceptions.AMQPError, ValueError):
            connections.pop(name, None)  # over; the close callbacks have told the reason


def main():
    threading.Thread(target=read_commands, daemon=True).start()
    write({"event": "ready"})
    while True:
        try:
            command = commands.get(timeout=0.002)
        except queue.Empty:
            look_at_connections()
            continue
        if command is None:
            return
        try:
            write({"id": command["id"], "result": run(command)})
        except Exception as error:  # every failure is the scenario's to judge
            write({"id": command["id"], "error": f"{type(error).__name__}: {error}"})


main()
