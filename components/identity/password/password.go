// Package password makes and verifies password hashes: argon2id for new ones, and bcrypt and Carbon's salted SHA-256 for
// those that came from elsewhere. It must not know users, storage or how often somebody may try.
package password

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime/debug"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Limits of the length of a password in bytes.
const (
	MinLength = 8
	MaxLength = 1024
)

// Cost of a new hash: 64 MiB, three passes, one lane: 0.13 to 0.18 s on the machines this was measured on.
const (
	memoryKiB  = 64 * 1024
	passes     = 3
	lanes      = 1
	saltLength = 16
	keyLength  = 32
)

// Limits of what a foreign hash may cost, so that a planted one cannot stop the process.
const (
	maxMemoryKiB  = 256 * 1024
	maxPasses     = 10
	maxLanes      = 4
	maxBcryptCost = 14
)

const carbonPrefix = "$carbon-sha256$"

// Hash makes an argon2id hash in PHC form. It takes about 0.15 s of a core and 64 MiB, which are given back to the system
// before it returns; callers see to it that only one runs at a time.
func Hash(password string) (string, error) {
	salt := make([]byte, saltLength)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("no random salt: %w", err)
	}
	p := params{memory: memoryKiB, passes: passes, lanes: lanes, salt: salt}
	p.key = p.derive(password, keyLength)
	return p.String(), nil
}

// Waste takes the time and memory of one Hash, for attempts that have nothing to be compared with.
func Waste(password string) {
	p := params{memory: memoryKiB, passes: passes, lanes: lanes, salt: make([]byte, saltLength)}
	p.derive(password, keyLength)
}

// Carbon gives the form under which a digest of a Carbon user store is kept: UM_SALT_VALUE and UM_USER_PASSWORD of a store
// with PasswordDigest SHA-256 and StoreSaltedPassword true.
func Carbon(salt, digest string) string { return carbonPrefix + salt + "$" + digest }

// Check says whether a stored hash is of a form and cost that Verify accepts.
func Check(hash string) error {
	_, err := parse(hash)
	return err
}

// Result is the outcome of Verify.
type Result struct {
	// OK is true if the password is the hash's.
	OK bool
	// Rehash is true if the password is right and the hash is not of today's form: make a new one with Hash.
	Rehash bool
	// Slow is true if the check took at least the time of today's argon2id.
	Slow bool
}

// Verify compares a password with a hash in constant time. An unreadable hash is an error and never a match.
func Verify(hash, password string) (Result, error) {
	v, err := parse(hash)
	if err != nil {
		return Result{}, err
	}
	ok := v.matches(password)
	current := v.current()
	return Result{OK: ok, Rehash: ok && !current, Slow: current}, nil
}

// verifier is one readable hash.
type verifier interface {
	matches(password string) bool
	current() bool
}

func parse(hash string) (verifier, error) {
	switch {
	case strings.HasPrefix(hash, "$argon2id$"):
		return parseArgon2id(hash)
	case strings.HasPrefix(hash, "$2"):
		return parseBcrypt(hash)
	case strings.HasPrefix(hash, carbonPrefix):
		return parseCarbon(hash)
	}
	return nil, fmt.Errorf("the password hash is of an unknown form: argon2id, bcrypt and %ssalt$digest are known", carbonPrefix)
}

// params is an argon2id hash in parts.
type params struct {
	memory, passes uint32
	lanes          uint8
	salt, key      []byte
}

func parseArgon2id(hash string) (*params, error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 {
		return nil, fmt.Errorf("the argon2id hash has %d parts instead of 5", len(parts)-1)
	}
	var version int
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return nil, fmt.Errorf("the argon2id hash has version %q instead of v=%d", parts[2], argon2.Version)
	}
	var p params
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.passes, &p.lanes); err != nil {
		return nil, fmt.Errorf("the argon2id hash has parameters %q", parts[3])
	}
	if p.passes < 1 || p.passes > maxPasses || p.lanes < 1 || p.lanes > maxLanes || p.memory < 8 || p.memory > maxMemoryKiB {
		return nil, fmt.Errorf("the argon2id hash has parameters %q; at most m=%d,t=%d,p=%d is allowed", parts[3], maxMemoryKiB, maxPasses, maxLanes)
	}
	var err error
	if p.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil || len(p.salt) < 8 {
		return nil, fmt.Errorf("the argon2id hash has an unreadable salt")
	}
	if p.key, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(p.key) < 16 || len(p.key) > 64 {
		return nil, fmt.Errorf("the argon2id hash has an unreadable key")
	}
	return &p, nil
}

func (p *params) derive(password string, length int) []byte {
	key := argon2.IDKey([]byte(password), p.salt, p.passes, p.memory, p.lanes, uint32(length))
	// 64 MiB would otherwise stay with the process until the next collection, minutes later.
	debug.FreeOSMemory()
	return key
}

func (p *params) matches(password string) bool {
	return subtle.ConstantTimeCompare(p.derive(password, len(p.key)), p.key) == 1
}

func (p *params) current() bool {
	return p.memory == memoryKiB && p.passes == passes && p.lanes == lanes && len(p.key) == keyLength
}

func (p *params) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.passes, p.lanes,
		b64.EncodeToString(p.salt), b64.EncodeToString(p.key))
}

type bcryptHash string

func parseBcrypt(hash string) (bcryptHash, error) {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return "", fmt.Errorf("the bcrypt hash is unreadable: %w", err)
	}
	if cost > maxBcryptCost {
		return "", fmt.Errorf("the bcrypt hash has cost %d; at most %d is allowed", cost, maxBcryptCost)
	}
	return bcryptHash(hash), nil
}

func (h bcryptHash) matches(password string) bool {
	return bcrypt.CompareHashAndPassword([]byte(h), []byte(password)) == nil
}

func (bcryptHash) current() bool { return false }

// carbonHash is base64(SHA-256(password + salt)), as Carbon's JDBCUserStoreManager.preparePassword makes it.
type carbonHash struct{ salt, digest string }

func parseCarbon(hash string) (carbonHash, error) {
	salt, digest, ok := strings.Cut(strings.TrimPrefix(hash, carbonPrefix), "$")
	if !ok || salt == "" {
		return carbonHash{}, fmt.Errorf("the Carbon hash has no salt")
	}
	if raw, err := base64.StdEncoding.DecodeString(digest); err != nil || len(raw) != sha256.Size {
		return carbonHash{}, fmt.Errorf("the Carbon hash has a digest that is no SHA-256 in base64")
	}
	return carbonHash{salt: salt, digest: digest}, nil
}

func (h carbonHash) matches(password string) bool {
	sum := sha256.Sum256([]byte(password + h.salt))
	return subtle.ConstantTimeCompare([]byte(base64.StdEncoding.EncodeToString(sum[:])), []byte(h.digest)) == 1
}

func (carbonHash) current() bool { return false }
