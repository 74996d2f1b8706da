// Package vsphere is the catalogue: which VM classes there are, how large they
// are, and what they cost.
//
// Classes come from three places, in this order of trust for their size:
// VirtualMachineClass objects of the Supervisor (vmoperator.vmware.com), vCenter's
// own list (vAPI), and the configuration. The price is the configuration's. A
// [Source] refreshes them in a goroutine of its own and answers from what it last
// read, however old: a vCenter that is slow or away never holds up a plan.
//
// A class that makes no sense, or that the namespace may not use, stays in the
// catalogue as Invalid with a text, and the others go on.
package vsphere
