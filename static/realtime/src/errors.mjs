/** The reason why a subscription, a request or the connection ended. */
export class RealtimeError extends Error {
  name = "RealtimeError";

  /**
   * @param {string} code The server's error code (`not_found`, `unauthorized`, `limit`, …);
   *   `disconnected` when the server forbade the client to reconnect; `closed` when the page itself
   *   closed the client or the handle.
   * @param {string} message
   * @param {number | null} [retryAfter] Seconds to wait, if the server named a number.
   */
  constructor(code, message, retryAfter = null) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}
