// Skips a component whose props are what they were: the rows of a table and the cells of a matrix, of which few change at a time.
import { Component, type ComponentType, type FunctionComponent, type JSX, h } from "preact";

export function memo<P extends object>(inner: FunctionComponent<P>): ComponentType<P> {
  return class Memo extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      const keys = Object.keys(next) as (keyof P)[];
      return keys.length !== Object.keys(this.props).length || keys.some((key) => next[key] !== (this.props as P)[key]);
    }

    render(): JSX.Element {
      return h(inner, this.props as P);
    }
  };
}
