import { ClipboardCopyButton } from "@patternfly/react-core/dist/dynamic/components/ClipboardCopy";
import { useId, useState } from "react";

const SHOWN = 12;

/** A digest short enough to compare by eye, whole on hover, copied whole. */
export function Digest({ value, label = "digest" }: { value: string; label?: string }) {
  const plain = value.replace(/^sha256:/, "");
  return (
    <span className="rf-digest">
      <code title={value}>{plain.slice(0, SHOWN)}</code>
      <CopyButton text={value} label={`Copy the ${label}`} />
    </span>
  );
}

export function CopyButton({ text, label }: { text: string; label: string }) {
  const id = useId();
  const [copied, setCopied] = useState(false);
  return (
    <ClipboardCopyButton
      id={`copy-${id}`}
      textId={`text-${id}`}
      aria-label={label}
      variant="plain"
      hasNoPadding
      exitDelay={copied ? 1500 : 300}
      onTooltipHidden={() => setCopied(false)}
      onClick={() => {
        void navigator.clipboard.writeText(text).then(() => setCopied(true));
      }}
    >
      {copied ? "Copied" : label}
    </ClipboardCopyButton>
  );
}
