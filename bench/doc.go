// Command bench gives the same pods and node types to the scheduler of
// Karpenter and to the packing of Tandem, in one run, and prints what each of
// them needs and buys side by side.
//
// It is a module of its own, so that the product does not depend on Karpenter.
package main
