package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "v0.0.0-dev"

func newVersion() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := struct {
				Version  string `json:"version"`
				Revision string `json:"revision,omitempty"`
				Go       string `json:"go"`
			}{version, revision(), runtime.Version()}
			if output == "table" {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "coordinator %s %s (%s)\n", v.Version, v.Revision, v.Go)
				return err
			}
			return write(cmd.OutOrStdout(), output, v)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}
