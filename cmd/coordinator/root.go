package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// Exit codes, as `coordinator help` tells them.
const (
	exitFailure = 1
	exitUsage   = 2
	exitInvalid = 3
)

// invalidError marks errors in what a person wrote: a configuration, a snapshot.
type invalidError struct{ error }

func (e invalidError) Unwrap() error { return e.error }

// usageError marks a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var invalid invalidError
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &invalid):
		return exitInvalid
	}
	return exitFailure
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "coordinator",
		Short: "One planner for Ray pods and Cluster API machines",
		Long: `coordinator reads what Ray clusters ask for, packs it on VM classes, scales Cluster
API MachineDeployments once to the right number, and gives nodes back when the Ray
pods on them are gone.

Exit codes: 0 done, 1 failure, 2 wrong command line, 3 invalid file.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newRun(), newPlan(), newSize(), newSnapshot(), newRelease(), newConfig(), newVersion())
	return root
}

// noArgs refuses arguments with exit code 2.
func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usageError{err}
	}
	return nil
}
