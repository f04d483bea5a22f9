// The browser's side of Link: a real socket, real time and real chance.
import type { Runtime, Socket, SocketEvents } from "./link";

export function browserRuntime(base: string): Runtime {
  return {
    connect: (events) => openSocket(socketUrl(base), events),
    now: () => Date.now(),
    after: (ms, run) => {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
    random: () => Math.random(),
  };
}

function socketUrl(base: string): URL {
  const url = new URL("ws/monitoring", base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

function openSocket(url: URL, events: SocketEvents): Socket {
  const socket = new WebSocket(url);
  socket.onopen = () => events.open();
  socket.onclose = (event) => events.closed(event.code, event.reason);
  socket.onmessage = (event: MessageEvent<unknown>) => {
    if (typeof event.data === "string") {
      events.message(event.data);
    }
  };
  return {
    send: (text) => {
      if (socket.readyState === WebSocket.OPEN) {
        socket.send(text);
      }
    },
    close: () => socket.close(),
  };
}
