import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Stores } from "../stores/app";

export const StoresContext = createContext<Stores | undefined>(undefined);

export function useStores(): Stores {
  const stores = useContext(StoresContext);
  if (stores === undefined) {
    throw new Error("rendered outside of StoresContext");
  }
  return stores;
}
