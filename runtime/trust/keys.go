package trust

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"aead.dev/minisign"
)

func keyID(id uint64) string { return fmt.Sprintf("%016X", id) }

// readSmall reads a file that has no business being large.
func readSmall(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", filepath.Base(file), limit)
	}
	return data, err
}

// ReadPublic reads a public key file of minisign's form.
func ReadPublic(file string) (Signer, error) {
	data, err := readSmall(file, maxKey)
	if err != nil {
		return Signer{}, ErrKey.Wrap(err, "the public key %s can't be read", file)
	}
	var s Signer
	if err := s.key.UnmarshalText(data); err != nil {
		return Signer{}, ErrKey.Wrap(err, "%s is no public key", file)
	}
	s.ID = keyID(s.key.ID())
	s.Name = strings.TrimSuffix(filepath.Base(file), ".pub")
	return s, nil
}

// Only gives a policy that trusts one signer alone.
func Only(s Signer) *Policy { return &Policy{Signers: []Signer{s}} }

// MakeKey writes a new secret key to file, 0600, and its public key to file.pub. An empty password leaves the secret key unencrypted,
// as `minisign -W` does. Neither file may exist.
func MakeKey(file, password string) (Signer, error) {
	public, secret, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		return Signer{}, ErrKey.Wrap(err, "no key can be made")
	}
	var text []byte
	if password == "" {
		text, err = secret.MarshalText()
	} else {
		text, err = minisign.EncryptKey(password, secret)
	}
	if err != nil {
		return Signer{}, ErrKey.Wrap(err, "the secret key can't be written")
	}
	publicText, err := public.MarshalText()
	if err != nil {
		return Signer{}, ErrKey.Wrap(err, "the public key can't be written")
	}
	if err := writeNew(file, append(text, '\n'), 0o600); err != nil {
		return Signer{}, ErrKey.Wrap(err, "the secret key can't be written")
	}
	if err := writeNew(file+".pub", append(publicText, '\n'), 0o644); err != nil {
		return Signer{}, ErrKey.Wrap(errors.Join(err, os.Remove(file)), "the public key can't be written")
	}
	return Signer{Name: filepath.Base(file), ID: keyID(public.ID()), key: public}, nil
}

func writeNew(file string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// Key is a secret key that signs.
type Key struct{ secret minisign.PrivateKey }

// ReadKey reads a secret key file; password may be empty where the key is not encrypted. A file that others can read is refused.
func ReadKey(file, password string) (*Key, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, ErrKey.Wrap(err, "the secret key %s can't be read", file)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, ErrKey.New("others than its owner may read the secret key %s (%s)", file, info.Mode().Perm()).Fix("chmod 600 %s", file)
	}
	data, err := readSmall(file, maxKey)
	if err != nil {
		return nil, ErrKey.Wrap(err, "the secret key %s can't be read", file)
	}
	k := &Key{}
	if minisign.IsEncrypted(data) {
		if password == "" {
			return nil, ErrKey.New("the secret key %s is encrypted", file).Fix("Give its password in CARBONADO_KEY_PASSWORD.")
		}
		if k.secret, err = minisign.DecryptKey(password, data); err != nil {
			return nil, ErrKey.Wrap(err, "the password is not that of %s", file)
		}
		return k, nil
	}
	if err := k.secret.UnmarshalText(data); err != nil {
		return nil, ErrKey.Wrap(err, "%s is no secret key", file)
	}
	return k, nil
}

// ID is the key's, sixteen hexadecimal digits.
func (k *Key) ID() string { return keyID(k.secret.ID()) }

// Sign signs content. The comment is signed with it.
func (k *Key) Sign(content []byte, comment string) []byte {
	return minisign.SignWithComments(k.secret, content, comment, "signature of a Carbonado package's package.lock")
}

// IsSecretKey tells whether data is a secret key in minisign's form, which never belongs into a package.
func IsSecretKey(data []byte) bool {
	if len(data) > maxKey {
		return false
	}
	if minisign.IsEncrypted(data) {
		return true
	}
	var k minisign.PrivateKey
	return k.UnmarshalText(data) == nil
}
