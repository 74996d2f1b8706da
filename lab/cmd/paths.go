package cmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

var errNoRepository = errors.New("no repository around the executable: give --root")

// repositoryRoot is the directory of the repository that the executable was
// built in, known by its lab/assets.sh, or else the one around the working
// directory.
func repositoryRoot() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding the lab's own binary: %w", err)
	}
	here, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the working directory: %w", err)
	}
	for _, start := range []string{filepath.Dir(self), here} {
		for dir := start; ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "lab", "assets.sh")); err == nil {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", errNoRepository
}
