package password

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func TestHashVerifies(t *testing.T) {
	hash, err := Hash("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=65536,t=3,p=1$") {
		t.Errorf("hash %q does not have the agreed cost", hash)
	}
	if r, err := Verify(hash, "correct horse"); err != nil || r != (Result{OK: true, Slow: true}) {
		t.Errorf("right password: %+v, %v", r, err)
	}
	if r, err := Verify(hash, "correct horsf"); err != nil || r != (Result{Slow: true}) {
		t.Errorf("wrong password: %+v, %v", r, err)
	}
	again, err := Hash("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if again == hash {
		t.Error("two hashes of one password are equal: the salt is not random")
	}
}

// The vector of the argon2 reference implementation's README-style test: argon2id, t=2, m=65536, p=1, "password", "somesalt".
func TestArgon2idReferenceVector(t *testing.T) {
	const hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	r, err := Verify(hash, "password")
	if err != nil || !r.OK || !r.Rehash {
		t.Errorf("got %+v, %v; want a match that asks for a new hash", r, err)
	}
}

func TestBcrypt(t *testing.T) {
	raw, err := bcrypt.GenerateFromPassword([]byte("s3cret-pass"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	// PHP and Apache write 2y and 2b for the same function.
	for _, hash := range []string{string(raw), "$2y$" + string(raw[4:]), "$2b$" + string(raw[4:])} {
		if r, err := Verify(hash, "s3cret-pass"); err != nil || r != (Result{OK: true, Rehash: true}) {
			t.Errorf("%s: right password: %+v, %v", hash[:4], r, err)
		}
		if r, err := Verify(hash, "other"); err != nil || r != (Result{}) {
			t.Errorf("%s: wrong password: %+v, %v", hash[:4], r, err)
		}
	}
}

func TestCarbon(t *testing.T) {
	salt := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef"))
	sum := sha256.Sum256([]byte("admin" + salt))
	hash := Carbon(salt, base64.StdEncoding.EncodeToString(sum[:]))
	if r, err := Verify(hash, "admin"); err != nil || r != (Result{OK: true, Rehash: true}) {
		t.Errorf("right password: %+v, %v", r, err)
	}
	if r, err := Verify(hash, "Admin"); err != nil || r.OK {
		t.Errorf("wrong password: %+v, %v", r, err)
	}
}

func TestUnreadableHashes(t *testing.T) {
	for _, hash := range []string{
		"", "admin", "$1$md5", "$2a$10$short", "$2a$31$" + strings.Repeat("a", 53),
		"$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHQ", "$argon2id$v=16$m=65536,t=3,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=99999999,t=3,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=65536,t=0,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHQ$AA", "$argon2id$v=19$m=65536,t=3,p=1$!$AAAAAAAAAAAAAAAAAAAAAA",
		"$carbon-sha256$", "$carbon-sha256$salt$abc", "$carbon-sha256$$" + strings.Repeat("A", 44),
	} {
		if err := Check(hash); err == nil {
			t.Errorf("Check(%q) accepts", hash)
		}
		if r, err := Verify(hash, ""); err == nil || r.OK {
			t.Errorf("Verify(%q): %+v, %v; want an error and no match", hash, r, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$carbon-sha256$c2FsdA==$" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	f.Fuzz(func(t *testing.T, hash string) {
		v, err := parse(hash)
		if err != nil {
			return
		}
		if p, ok := v.(*params); ok && (p.memory > maxMemoryKiB || p.passes > maxPasses || p.lanes > maxLanes) {
			t.Fatalf("parameters beyond the limits: %q", hash)
		}
	})
}
