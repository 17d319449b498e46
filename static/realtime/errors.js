/** Something was refused, or given up. */
export class RealtimeError extends Error {
  name = "RealtimeError";

  /**
   * @param {string} code The server's error code (`not_found`, `unauthorized`, `limit`, …);
   *   `disconnected` when it asked to stay away, `closed` when it was closed here.
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}
