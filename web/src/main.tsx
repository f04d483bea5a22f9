import { render } from "preact";
import { App } from "./app";
import { createStores } from "./stores/app";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/frame.css";
import "./styles/monitoring.css";
import "./styles/panels.css";
import "./styles/tables.css";
import "./styles/over.css";
import { StoresContext } from "./ui/context";

const root = document.getElementById("app");
if (root === null) {
  throw new Error("index.html has no #app");
}
const { stores, run } = createStores(document.baseURI);
run();
render(
  <StoresContext.Provider value={stores}>
    <App />
  </StoresContext.Provider>,
  root,
);
