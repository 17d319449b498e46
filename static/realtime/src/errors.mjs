/** Why a subscription, a request or the connection was refused or given up. */
export class RealtimeError extends Error {
  name = "RealtimeError";

  /**
   * @param {string} code The server's error code (`not_found`, `unauthorized`, `limit`, …);
   *   `disconnected` when the server asked the client to stay away, `closed` when the client or
   *   the handle was closed by the page itself.
   * @param {string} message
   * @param {number | null} [retryAfter] Seconds that the server asked to wait.
   */
  constructor(code, message, retryAfter = null) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}
