/** The mark: a ring of parts around what stays inside. */
export function Brand() {
  return (
    <>
      <svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true" className="rf-mark">
        <circle cx="16" cy="16" r="12" fill="none" strokeWidth="4" strokeDasharray="9.6 2.97" />
        <circle cx="16" cy="16" r="4.5" stroke="none" />
      </svg>
      <span className="rf-wordmark">Ringfence</span>
    </>
  );
}
