// `node page.mjs '{…}'`: the JavaScript client with some tasks; each callback is a line of JSON.

const { client, url, origin, tokens, tasks } = JSON.parse(process.argv[2]);
const { connect } = await import(client);

function tell(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

class Socket extends WebSocket {
  constructor(address) {
    super(address, { headers: { origin } });
    this.addEventListener("message", ({ data }) => {
      const { type, topic } = JSON.parse(data);
      if (type === "subscribed") tell({ subscribed: topic });
    });
    this.addEventListener("close", ({ code }) => tell({ closed: code }));
  }
}

process.on("uncaughtException", (error) => tell({ violation: String(error?.stack ?? error) }));

const realtime = connect(url, { WebSocket: Socket });
for (const id of tasks) {
  const token = async () => {
    const answer = await fetch(`${tokens}?topic=${encodeURIComponent(`task:${id}`)}`);
    return answer.text();
  };
  const task = realtime.task(id, { token });
  task.onStatus((status) => tell({ status }));
  task.onError((error) => tell({ violation: `${id}: ${error}` }));
}
