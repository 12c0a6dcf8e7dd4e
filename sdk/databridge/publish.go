package databridge

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/apache/thrift/lib/go/thrift"

	"carbonado.dev/sdk/databridge/wire"
)

// How long and how much the server still reads of a client whose message it refused, so that the refusal reaches it.
const (
	drainTime  = 2 * time.Second
	drainBytes = 16 << 20
)

// publish reads and answers one bundle.
func (c *connection) publish(ctx context.Context, seq int32) bool {
	alive := false
	c.in.limit = min(maxStranger, c.server.MaxBundle)
	err := c.bundle.read(&c.in, func(id []byte) {
		if alive = c.server.Handler.Alive(id); alive {
			c.in.limit = c.server.MaxBundle
		}
	})
	if err != nil {
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
			return c.broken("publish", err)
		}
		// The end of the message is unknown: answer, then close.
		kind := UndefinedEventType
		if !alive {
			kind, err = SessionExpired, ErrSession.Wrap(err, "the bundle could not be read either")
		}
		c.server.Report(c.remote, "publish", err)
		if c.exception(seq, kind, err) {
			c.closeWrite()
			c.in.drain(drainTime, drainBytes)
		}
		return false
	}
	if !alive {
		err := ErrSession.New("publish")
		c.server.Report(c.remote, "publish", err)
		return c.exception(seq, SessionExpired, err)
	}
	if err := c.server.Handler.Publish(ctx, &c.bundle); err != nil {
		c.server.Report(c.remote, "publish", err)
		switch kind := faultKind(err); kind {
		case CloseConnection:
			return false
		case UndefinedEventType, SessionExpired:
			return c.exception(seq, kind, err)
		default:
			return c.fault("publish", seq, thrift.INTERNAL_ERROR, err.Error())
		}
	}
	c.out = appendHead(c.out[:0], messageReply, "publish", seq)
	return c.write(append(c.out, typeStop))
}

func appendHead(b []byte, typ byte, name string, seq int32) []byte {
	b = binary.BigEndian.AppendUint32(b, version1|uint32(typ))
	b = appendText(b, name)
	return binary.BigEndian.AppendUint32(b, uint32(seq))
}

func appendText(b []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
}

func appendField(b []byte, typ byte, id uint16) []byte {
	return binary.BigEndian.AppendUint16(append(b, typ), id)
}

// exception answers publish with one of its two exceptions.
func (c *connection) exception(seq int32, kind FaultKind, err error) bool {
	id := uint16(1)
	if kind == SessionExpired {
		id = 2
	}
	b := appendHead(c.out[:0], messageReply, "publish", seq)
	b = appendField(b, typeStruct, id)
	b = appendField(b, typeString, 1)
	b = appendText(b, err.Error())
	c.out = append(b, typeStop, typeStop)
	return c.write(c.out)
}

// fault answers with a Thrift application exception.
func (c *connection) fault(method string, seq int32, typ int32, text string) bool {
	b := appendHead(c.out[:0], messageFault, method, seq)
	b = appendField(b, typeString, 1)
	b = appendText(b, text)
	b = appendField(b, typeI32, 2)
	b = binary.BigEndian.AppendUint32(b, uint32(typ))
	c.out = append(b, typeStop)
	return c.write(c.out)
}

func (c *connection) write(b []byte) bool {
	if c.conn.SetWriteDeadline(time.Now().Add(c.server.Patience)) != nil {
		return false
	}
	_, err := c.conn.Write(b)
	if err != nil && !isReset(err) {
		c.server.Report(c.remote, "", ErrProtocol.Wrap(err, "writing an answer"))
	}
	return err == nil
}

func (c *connection) closeWrite() {
	if w, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
}

// source lets the generated code read from a connection's input.
type source struct{ *input }

func (source) Write([]byte) (int, error)   { return 0, errors.New("read only") }
func (source) Close() error                { return nil }
func (source) Flush(context.Context) error { return nil }
func (source) Open() error                 { return nil }
func (source) IsOpen() bool                { return true }
func (source) RemainingBytes() uint64      { return ^uint64(0) }

type callKey struct{}

// callInfo travels to the handler's adapter and brings its error back, for the report.
type callInfo struct {
	remote string
	failed *error
}

// calls adapts a Handler to the generated interface.
type calls struct{ h Handler }

// fail notes the error and turns it into the exception of its kind.
func (calls) fail(ctx context.Context, err error) error {
	if info, ok := ctx.Value(callKey{}).(*callInfo); ok {
		*info.failed = err
	}
	text := err.Error()
	switch faultKind(err) {
	case SessionExpired:
		return &wire.ThriftSessionExpiredException{Message: text}
	case Authentication:
		return &wire.ThriftAuthenticationException{Message: text}
	case DifferentDefinition:
		return &wire.ThriftDifferentStreamDefinitionAlreadyDefinedException{Message: text}
	case MalformedDefinition:
		return &wire.ThriftMalformedStreamDefinitionException{Message: text}
	case DefinitionFailed:
		return &wire.ThriftStreamDefinitionException{Message: text}
	case NoDefinition:
		return &wire.ThriftNoStreamDefinitionExistException{Message: text}
	case UndefinedEventType:
		return &wire.ThriftUndefinedEventTypeException{Message: text}
	}
	return err
}

func (c calls) Connect(ctx context.Context, user, password string) (string, error) {
	remote := ""
	if info, ok := ctx.Value(callKey{}).(*callInfo); ok {
		remote = info.remote
	}
	id, err := c.h.Connect(ctx, remote, user, password)
	if err != nil {
		return "", c.fail(ctx, err)
	}
	return id, nil
}

func (c calls) Disconnect(ctx context.Context, session string) error {
	if err := c.h.Disconnect(ctx, session); err != nil {
		return c.fail(ctx, err)
	}
	return nil
}

func (c calls) DefineStream(ctx context.Context, session, definition string) (string, error) {
	id, err := c.h.DefineStream(ctx, session, definition)
	if err != nil {
		return "", c.fail(ctx, err)
	}
	return id, nil
}

func (c calls) FindStreamId(ctx context.Context, session, name, version string) (string, error) {
	id, err := c.h.FindStreamID(ctx, session, name, version)
	if err != nil {
		return "", c.fail(ctx, err)
	}
	return id, nil
}

func (c calls) DeleteStreamById(ctx context.Context, session, id string) (bool, error) {
	existed, err := c.h.DeleteStream(ctx, session, id)
	if err != nil {
		return false, c.fail(ctx, err)
	}
	return existed, nil
}

func (c calls) DeleteStreamByNameVersion(ctx context.Context, session, name, version string) (bool, error) {
	return c.DeleteStreamById(ctx, session, name+":"+version)
}

// Publish is not reached: the server reads bundles itself.
func (c calls) Publish(ctx context.Context, _ *wire.ThriftEventBundle) error {
	return c.fail(ctx, ErrProtocol.New("publish through generated code"))
}
