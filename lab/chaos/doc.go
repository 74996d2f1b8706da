// Package chaos runs a coordinator on a lab under random faults: processes are
// killed, writes are delayed, fail or lose their answer, Machines and pods
// vanish or hang, the lease is taken away. Two small RayClusters, one led and
// one followed, work all the time.
//
// The order of the faults and their parameters follow from a seed; what they
// hit depends on what is there at that moment. They come one after another,
// some seconds apart, so that their effects overlap. After the last one
// everything is healed: then a driver must run on each RayCluster, and all
// worker Machines must be given back.
package chaos
