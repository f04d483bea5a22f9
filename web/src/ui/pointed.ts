// Whether a mouse is over something. A finger leaves no trace of having gone, so it does not count.
export function whilePointed(
  change: (pointed: boolean) => void,
): Readonly<Record<"onPointerEnter" | "onPointerLeave", (event: PointerEvent) => void>> {
  return {
    onPointerEnter: (event) => {
      if (event.pointerType === "mouse") {
        change(true);
      }
    },
    onPointerLeave: () => change(false),
  };
}
