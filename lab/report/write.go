package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Write writes a report to a file as indented JSON, whole or not at all.
func Write(path string, rep Report) error {
	b, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the report: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("creating the report: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already if all went well
	if _, err := f.Write(append(b, '\n')); err != nil {
		_ = f.Close()
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("putting the report in place: %w", err)
	}
	return nil
}

// Read reads a report that Write wrote.
func Read(path string) (Report, error) {
	b, err := os.ReadFile(path) //nolint:gosec // the caller names the file
	if err != nil {
		return Report{}, fmt.Errorf("reading the report: %w", err)
	}
	var rep Report
	if err := json.Unmarshal(b, &rep); err != nil {
		return Report{}, fmt.Errorf("decoding the report %s: %w", path, err)
	}
	return rep, nil
}
