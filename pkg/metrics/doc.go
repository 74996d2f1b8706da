// Package metrics shows what the coordinator did: Prometheus series, a journal
// of decisions, Kubernetes Events and the pages of its HTTP server. It decides
// nothing and renders one value, the [Tick], which the loop makes once per
// round. [Metrics], [Journal], [Events] and [Latest] each take it with Record;
// none of them blocks the loop, and none can fail it.
//
// # What tenants can do to it
//
// Names of RayClusters, of custom resources and the texts of their errors come
// from tenants. None of them becomes a label value: labels come from closed
// lists (reasons, steps, phases, kinds of sources) and from the names of
// MachineDeployments and VM classes, and whatever is in no list becomes
// "custom" or "other". Texts that go into the journal and into Events are cut
// at a fixed length and hold no control characters.
package metrics
