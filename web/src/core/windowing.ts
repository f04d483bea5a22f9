// Which rows of a long list of equal heights are drawn. Cost depends on the height of the view, never on the length of the list.

export interface ListWindow {
  // The first row that is drawn.
  readonly first: number;
  // One behind the last row that is drawn.
  readonly end: number;
}

export function listWindow(scrollTop: number, viewHeight: number, rowHeight: number, rows: number, overscan = 4): ListWindow {
  const top = Math.max(0, Math.min(scrollTop, rows * rowHeight - viewHeight));
  const first = Math.max(0, Math.floor(top / rowHeight) - overscan);
  const end = Math.min(rows, Math.ceil((top + viewHeight) / rowHeight) + overscan);
  return { first, end: Math.max(first, end) };
}

// Fractions of a pixel make a list that is at its end seem not to be.
export function isAtEnd(scrollTop: number, viewHeight: number, rowHeight: number, rows: number): boolean {
  return scrollTop + viewHeight >= rows * rowHeight - rowHeight / 2;
}
