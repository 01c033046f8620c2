import { useId, type ReactNode } from "react";

interface Props {
  title: string;
  aside?: ReactNode;
  children: ReactNode;
  className?: string;
}

/** A titled part of a page: a region that a screen reader can jump to. */
export function Panel({ title, aside, children, className = "" }: Props) {
  const id = useId();
  return (
    <section className={`rf-panel ${className}`} aria-labelledby={id}>
      <div className="rf-panel-head">
        <h2 id={id}>{title}</h2>
        {aside}
      </div>
      {children}
    </section>
  );
}
