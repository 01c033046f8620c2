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
  const [said, setSaid] = useState<string | null>(null);
  return (
    <>
      <ClipboardCopyButton
        id={`copy-${id}`}
        textId={`text-${id}`}
        aria-label={label}
        variant="plain"
        hasNoPadding
        exitDelay={said ? 1500 : 300}
        onTooltipHidden={() => setSaid(null)}
        onClick={() => void copy(text).then(setSaid)}
      >
        {said ?? label}
      </ClipboardCopyButton>
      <span role="status" className="pf-v6-screen-reader">
        {said}
      </span>
    </>
  );
}

/** Say what came of it: a browser may forbid it, and there is no clipboard without a secure origin. */
async function copy(text: string): Promise<string> {
  try {
    await navigator.clipboard.writeText(text);
    return "Copied";
  } catch {
    return "Not copied: select the text and copy it yourself";
  }
}
