// What a backup or a restore copied.

export interface BackupReport {
  readonly logs: number;
  readonly files: number;
  readonly bytes: number;
}
