package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"carbonado.dev/carbonado/runtime/digest"
)

// open opens an executable and checks that its SHA-256 is want (hexadecimal). The descriptor returned is the one that was hashed; it is
// the caller's to execute and to close.
func open(digests *digest.Cache, path, want string) (*os.File, error) {
	wanted, err := hex.DecodeString(want)
	if err != nil || len(wanted) != sha256.Size {
		return nil, ErrDigest.New("no digest of %s is recorded (%q)", path, want)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, ErrExecutable.Wrap(err, "open %s", path)
	}
	if err := executable(f); err != nil {
		f.Close()
		return nil, ErrExecutable.Wrap(err, "open %s", path)
	}
	sum, err := digests.Of(f)
	if err != nil {
		f.Close()
		return nil, ErrExecutable.Wrap(err, "read %s", path)
	}
	if sum != hex.EncodeToString(wanted) {
		f.Close()
		return nil, ErrDigest.New("the SHA-256 of %s is %s, %s was installed", path, sum, want)
	}
	return f, nil
}

// executable makes sure that an open file is one that can be executed.
func executable(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is no regular file (%s)", info.Mode().Type())
	}
	if info.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("it is not executable (%s)", info.Mode().Perm())
	}
	return nil
}
