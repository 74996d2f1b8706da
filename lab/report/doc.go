// Package report watches a running lab from the outside and writes down what
// happened in both layers: what Ray asked for, which pods, MachineDeployments,
// Machines and Nodes came and went, and how long everything took.
//
// # Sources
//
// [Watch] follows the objects of both API servers, [PollGCS] reads the GCS of
// one RayCluster five times a second, [FollowJournal] reads the coordinator's
// journal, and [SampleMemory] adds up the memory of the processes. They all
// feed one [Recorder], which keeps what it sees as a [Report] and tells its
// subscribers about every change as it happens. None of them writes to the
// lab.
//
// # Time
//
// Every time in a report is in seconds from the start, the moment at which the
// control plane was ready and the first pool was added. It is the time at which
// the lab saw a change: for objects a few milliseconds after it was made, for
// the GCS up to one poll.
package report
