/** All windows of a boundary in one form: they are replaced together, or not at all. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { Modal, ModalBody, ModalFooter, ModalHeader } from "@patternfly/react-core/dist/dynamic/components/Modal";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, unwrap } from "../api/client";
import { windowsQuery } from "../api/queries";
import type { BoundaryOut, Window } from "../api/schema";
import { ErrorAlert } from "./ErrorState";

type Day = Window["days"][number];

const DAYS: [Day, string][] = [
  ["mon", "Mon"], ["tue", "Tue"], ["wed", "Wed"], ["thu", "Thu"], ["fri", "Fri"], ["sat", "Sat"], ["sun", "Sun"],
];
const ZONES = Intl.supportedValuesOf("timeZone");

interface Props {
  boundary: BoundaryOut;
  windows: Window[];
  onClose: () => void;
}

export function EditWindows({ boundary, windows, onClose }: Props) {
  const [edited, setEdited] = useState<Window[]>(windows.length > 0 ? windows : [fresh()]);
  const client = useQueryClient();
  const save = useMutation({
    mutationFn: () =>
      unwrap(
        api.PUT("/v1/boundaries/{boundary}/windows", {
          params: { path: { boundary: boundary.name } },
          body: { windows: edited },
        }),
      ),
    onSuccess: async () => {
      onClose();
      await client.invalidateQueries({ queryKey: windowsQuery(boundary.name).queryKey });
    },
  });
  const change = (at: number, to: Partial<Window>) =>
    setEdited(edited.map((w, i) => (i === at ? { ...w, ...to } : w)));
  const isWhole = edited.every((w) => w.days.length > 0 && w.starts && w.minutes >= 15 && w.zone);
  return (
    <Modal isOpen variant="medium" onClose={onClose} aria-labelledby="windows-title">
      <ModalHeader title={`Maintenance windows of ${boundary.display_name}`} labelId="windows-title" />
      <ModalBody>
        <p className="rf-ask-text">
          Outside them a run waits before its next effect. Planning, taking back a failed run and
          closing access never wait. Without any window runs may change the boundary at any time.
        </p>
        <form
          id="edit-windows"
          onSubmit={(event) => {
            event.preventDefault();
            if (isWhole) save.mutate();
          }}
        >
          {edited.map((w, at) => (
            <Fields
              key={at}
              window={w}
              number={at + 1}
              onChange={(to) => change(at, to)}
              onRemove={() => setEdited(edited.filter((_, i) => i !== at))}
            />
          ))}
          <datalist id="zones">
            {ZONES.map((zone) => (
              <option key={zone} value={zone} />
            ))}
          </datalist>
        </form>
        <Button variant="link" isInline onClick={() => setEdited([...edited, fresh()])}>
          Add a window
        </Button>
        {save.error && <ErrorAlert error={save.error} />}
      </ModalBody>
      <ModalFooter>
        <Button type="submit" form="edit-windows" isDisabled={!isWhole || save.isPending} isLoading={save.isPending}>
          {edited.length > 0 ? "Set these windows" : "Let runs change it at any time"}
        </Button>
        <Button variant="link" onClick={onClose}>
          Back
        </Button>
      </ModalFooter>
    </Modal>
  );
}

function fresh(): Window {
  return { days: [], starts: "22:00", minutes: 240, zone: Intl.DateTimeFormat().resolvedOptions().timeZone };
}

interface FieldsProps {
  window: Window;
  number: number;
  onChange: (to: Partial<Window>) => void;
  onRemove: () => void;
}

function Fields({ window: w, number, onChange, onRemove }: FieldsProps) {
  const toggle = (day: Day) =>
    // In the order of the week, however they were chosen.
    onChange({ days: DAYS.map(([d]) => d).filter((d) => (d === day) !== w.days.includes(d)) });
  return (
    <fieldset className="rf-window-edit">
      <legend>Window {number}</legend>
      <div className="rf-window-days">
        {DAYS.map(([day, label]) => (
          <label key={day}>
            <input type="checkbox" checked={w.days.includes(day)} onChange={() => toggle(day)} /> {label}
          </label>
        ))}
      </div>
      <div className="rf-window-when">
        <label>
          Opens at
          <input type="time" value={w.starts} required onChange={(e) => onChange({ starts: e.target.value })} />
        </label>
        <label>
          Minutes
          <input
            type="number"
            min={15}
            max={10_080}
            value={w.minutes}
            required
            onChange={(e) => onChange({ minutes: Number(e.target.value) })}
          />
        </label>
        <label>
          Time zone
          <input list="zones" value={w.zone} required onChange={(e) => onChange({ zone: e.target.value })} />
        </label>
      </div>
      <div>
        <Button variant="link" isInline isDanger onClick={onRemove}>
          Remove window {number}
        </Button>
      </div>
    </fieldset>
  );
}
