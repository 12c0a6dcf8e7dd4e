package identity

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// initialPassword is the file that holds the first administrator's password until a person has signed in.
const initialPassword = "initial-password"

// firstPassword is where the first administrator's password comes from.
type firstPassword struct {
	given string
	file  string
	// own is where the file lies if this process can't write beside its own folder.
	own string
	// written is true once a password was made and written to file.
	written bool
}

// take answers the given password, or makes one and writes it to the file before anybody can have it as password.
func (f *firstPassword) take() (string, error) {
	if f.given != "" {
		return f.given, nil
	}
	// 26 letters and digits, 130 bits; rand.Text leaves out what people mix up.
	secret := rand.Text()
	err := writePrivate(f.file, secret+"\n")
	if errors.Is(err, os.ErrPermission) && f.own != "" { // confined to its own folder: the kernel shows the file at its place
		err = writePrivate(f.own, secret+"\n")
	}
	if err != nil {
		return "", fmt.Errorf("the first password cannot be written: %w", err)
	}
	f.written = true
	return secret, nil
}

// remove ends the file's life. A missing file is no error.
func (f *firstPassword) remove() (removed bool, err error) {
	for _, file := range []string{f.own, f.file} {
		err := os.Remove(file)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, os.ErrNotExist):
		case errors.Is(err, os.ErrPermission) && f.own != "": // the kernel's link, which goes with the file
		default:
			return false, err
		}
	}
	return false, nil
}

// writePrivate writes a file with mode 0600 whole or not at all, and waits until it is on disk.
func writePrivate(path, content string) (err error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	// CreateTemp makes files with mode 0600.
	f, err := os.CreateTemp(folder, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err := f.WriteString(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close(), f.Close())
}
