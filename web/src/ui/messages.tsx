import type { JSX } from "preact";
import { useStores } from "./context";
import { Mark, Picture } from "./mark";

export function Messages(): JSX.Element {
  const { messages } = useStores();
  return (
    <div class="messages" role="status" aria-live="polite">
      {messages.messages.value.map((message) => (
        <div key={message.id} class="message" data-testid="message" data-tone={message.tone}>
          <Mark
            look={{ tone: message.tone, shape: message.tone === "good" ? "check" : message.tone === "critical" ? "triangle" : "diamond" }}
          />
          <div class="words">
            {message.text}
            {message.detail === "" ? null : <p class="weak">{message.detail}</p>}
          </div>
          <button type="button" class="button icon" onClick={() => messages.dismiss(message.id)} aria-label="Dismiss">
            <Picture icon="close" />
          </button>
        </div>
      ))}
    </div>
  );
}
