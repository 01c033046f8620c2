import { CopyButton } from "./Digest";

export function CodeBox({ text, label }: { text: string; label: string }) {
  return (
    <div className="rf-code">
      <pre tabIndex={0} aria-label={label}>
        <code>{text}</code>
      </pre>
      <CopyButton text={text} label="Copy" />
    </div>
  );
}
