/** Every axis rule on small graphs: groups as recorded (over-coupling is invisible to any oracle), removals proven. */
import { expect, test } from "vitest";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import { groupsText } from "../../support/groups-text.js";
import { examine } from "../../support/probe.js";
import { modelOfProbe, probes } from "../../support/rule-probes.js";

test.each(probes.map((p) => [p.name, p] as const))("%s", async (name, probe) => {
  const text = groupsText(findGroups(modelOfProbe(probe)));
  await expect(text).toMatchFileSnapshot(`../../fixtures/golden/rules/${name.replaceAll(/[^A-Za-z0-9]+/g, "-")}.txt`);
  expect(await examine(modelOfProbe(probe), text)).toEqual([]);
});
