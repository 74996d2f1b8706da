package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tandem-autoscaler/tandem/pkg/config"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Print or check configuration files"}
	cmd.AddCommand(newConfigDefault(), newConfigValidate())
	return cmd
}

func newConfigDefault() *cobra.Command {
	return &cobra.Command{
		Use:   "default",
		Short: "Print the default configuration, with a comment on every field",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := config.Marshal(config.Default())
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(b)
			return err
		},
	}
}

func newConfigValidate() *cobra.Command {
	var file string
	var files bool
	cmd := &cobra.Command{
		Use:   "validate -f FILE",
		Short: "Check a configuration file and report every problem",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{errors.New("which file? name it with --file")}
			}
			c, err := config.Load(file)
			if err == nil && files {
				err = c.CheckFiles()
			}
			if err != nil {
				return invalidError{err}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is valid\n", file)
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the configuration file (- is not read: a daemon needs a file)")
	cmd.Flags().BoolVar(&files, "check-files", false, "also check that every file it names can be read")
	return cmd
}
