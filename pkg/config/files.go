package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// CheckFiles tells which files that the configuration names cannot be read,
// all at once, and whether the journal has a folder to be written in. It is
// apart from [Configuration.Validate] because a file may be validated on a
// machine that has none of the secrets. No content is ever shown.
func (c *Configuration) CheckFiles() error {
	var ps problems
	check := func(path, file string) {
		if file == "" {
			return
		}
		if err := readable(file); err != nil {
			ps.add(path, err.Error())
		}
	}
	check("management.kubeconfig", c.Management.Kubeconfig)
	check("workload.kubeconfig", c.Workload.Kubeconfig)
	for i, cr := range c.RayClusters.Credentials {
		at := "rayClusters.credentials[" + strconv.Itoa(i) + "]."
		check(at+"tokenFile", cr.TokenFile)
		check(at+"caFile", cr.CAFile)
		check(at+"certFile", cr.CertFile)
		check(at+"keyFile", cr.KeyFile)
	}
	if v := c.Catalogue.VCenter; v != nil {
		check("catalogue.vcenter.usernameFile", v.UsernameFile)
		check("catalogue.vcenter.passwordFile", v.PasswordFile)
		check("catalogue.vcenter.caFile", v.CAFile)
	}
	if p := c.Journal.Path; p != "" && p != "-" {
		if err := folder(filepath.Dir(p)); err != nil {
			ps.add("journal.path", err.Error())
		}
	}
	return ps.err()
}

// readable tells why a file cannot be read, or that there is nothing in it.
func readable(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return plain(file, err)
	}
	if !info.Mode().IsRegular() {
		return errors.New(file + " is not a regular file")
	}
	f, err := os.Open(file) //nolint:gosec // the operator names the file
	if err != nil {
		return plain(file, err)
	}
	defer f.Close() //nolint:errcheck // the file was only read
	switch _, err := f.Read(make([]byte, 1)); {
	case errors.Is(err, io.EOF):
		return errors.New(file + " is empty")
	case err != nil:
		return plain(file, err)
	}
	return nil
}

// folder tells why a path is no folder.
func folder(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return plain(path, err)
	}
	if !info.IsDir() {
		return errors.New(path + " is not a folder")
	}
	return nil
}

// plain says what is wrong with a file in words for people.
func plain(file string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New(file + " does not exist")
	case errors.Is(err, fs.ErrPermission):
		return errors.New(file + " may not be read by this user")
	}
	return err
}
