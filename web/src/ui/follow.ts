// Scrolling of a list that grows at its end and loses, or gets, rows at its beginning: at the end it stays there, anywhere else it holds still.
import { type Signal, useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { type ListWindow, isAtEnd, listWindow } from "../core/windowing";

export interface Following {
  readonly box: RefObject<HTMLDivElement | null>;
  readonly window: ListWindow;
  // Rows that came below since the end was last seen.
  readonly unseen: number;
  readonly scrolled: () => void;
  readonly toEnd: () => void;
}

// `base` is the number of the first row since the beginning of the list, `length` how many there are.
export function useFollowing(following: Signal<boolean>, base: number, length: number, rowHeight: number): Following {
  const box = useRef<HTMLDivElement>(null);
  const scroll = useSignal(0);
  const height = useSignal(400);
  const shownBase = useRef(base);
  const seen = useRef(0);
  const end = base + length;

  useLayoutEffect(() => {
    following.value = true;
    const observer = new ResizeObserver(([entry]) => {
      height.value = entry?.contentRect.height ?? height.value;
      if (following.value && box.current !== null) {
        box.current.scrollTop = box.current.scrollHeight;
      }
    });
    if (box.current !== null) {
      observer.observe(box.current);
    }
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    const gone = base - shownBase.current;
    shownBase.current = base;
    if (box.current !== null && following.value) {
      box.current.scrollTop = length * rowHeight;
      seen.current = end;
    } else if (box.current !== null && gone !== 0) {
      box.current.scrollTop = Math.max(0, box.current.scrollTop - gone * rowHeight);
    }
  }, [base, length]);

  const scrolled = (): void => {
    if (box.current !== null) {
      scroll.value = box.current.scrollTop;
      following.value = isAtEnd(box.current.scrollTop, box.current.clientHeight, rowHeight, length);
      seen.current = following.value ? end : seen.current;
    }
  };
  const toEnd = (): void => {
    following.value = true;
    if (box.current !== null) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  };
  const top = following.value ? length * rowHeight - height.value : scroll.value;
  return { box, window: listWindow(top, height.value, rowHeight, length), unseen: end - seen.current, scrolled, toEnd };
}
