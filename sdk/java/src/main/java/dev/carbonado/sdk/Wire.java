package dev.carbonado.sdk;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Protobuf's wire format without generated code: a message is read by field numbers and written field by field. It knows no contract.
 * Components that use protoc's Java code may do so beside it: the kit carries messages as bytes.
 */
public final class Wire {
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();

  /** A message to be written. Zero values are left out, as proto3 does. */
  public static Wire message() {
    return new Wire();
  }

  public Wire number(int field, long value) {
    if (value != 0) {
      varint((long) field << 3);
      varint(value);
    }
    return this;
  }

  public Wire flag(int field, boolean value) {
    return number(field, value ? 1 : 0);
  }

  public Wire string(int field, String value) {
    return value == null || value.isEmpty() ? this : bytes(field, value.getBytes(StandardCharsets.UTF_8));
  }

  /** Bytes or a message that is there even if it is empty. */
  public Wire bytes(int field, byte[] value) {
    varint((long) field << 3 | 2);
    varint(value.length);
    out.writeBytes(value);
    return this;
  }

  public Wire message(int field, Wire value) {
    return bytes(field, value.done());
  }

  public Wire map(int field, Map<String, String> value) {
    value.forEach((k, v) -> message(field, message().string(1, k).string(2, v)));
    return this;
  }

  public byte[] done() {
    return out.toByteArray();
  }

  private void varint(long v) {
    while ((v & ~0x7fL) != 0) {
      out.write((int) (v & 0x7f | 0x80));
      v >>>= 7;
    }
    out.write((int) v);
  }

  /** A message that was read. Fields that are absent have their zero value. */
  public static final class Fields {
    private final Map<Integer, List<Object>> values = new LinkedHashMap<>();

    private Object last(int field) {
      List<Object> all = values.get(field);
      return all == null ? null : all.get(all.size() - 1);
    }

    public long number(int field) {
      return last(field) instanceof Long v ? v : 0;
    }

    public boolean flag(int field) {
      return number(field) != 0;
    }

    public byte[] bytes(int field) {
      return last(field) instanceof byte[] v ? v : new byte[0];
    }

    public String string(int field) {
      return new String(bytes(field), StandardCharsets.UTF_8);
    }

    public boolean has(int field) {
      return values.containsKey(field);
    }

    public List<Fields> messages(int field) {
      List<Fields> out = new ArrayList<>();
      for (Object v : values.getOrDefault(field, List.of())) {
        out.add(read((byte[]) v));
      }
      return out;
    }

    public Map<String, String> map(int field) {
      Map<String, String> out = new LinkedHashMap<>();
      for (Fields e : messages(field)) {
        out.put(e.string(1), e.string(2));
      }
      return out;
    }
  }

  /** Reads a message; fields of unknown numbers are kept and do no harm. */
  public static Fields read(byte[] b) {
    Fields f = new Fields();
    int[] at = {0};
    while (at[0] < b.length) {
      long key = varint(b, at);
      Object value = switch ((int) (key & 7)) {
        case 0 -> varint(b, at);
        case 1 -> fixed(b, at, 8);
        case 5 -> fixed(b, at, 4);
        case 2 -> {
          long n = varint(b, at);
          if (n < 0 || n > b.length - at[0]) {
            throw new IllegalArgumentException("a field of " + n + " bytes in a message of " + b.length);
          }
          byte[] v = java.util.Arrays.copyOfRange(b, at[0], at[0] + (int) n);
          at[0] += (int) n;
          yield v;
        }
        default -> throw new IllegalArgumentException("wire type " + (key & 7));
      };
      f.values.computeIfAbsent((int) (key >>> 3), k -> new ArrayList<>()).add(value);
    }
    return f;
  }

  private static long varint(byte[] b, int[] at) {
    long v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at[0] >= b.length) {
        throw new IllegalArgumentException("a message is cut short");
      }
      byte x = b[at[0]++];
      v |= (long) (x & 0x7f) << shift;
      if (x >= 0) {
        return v;
      }
    }
    throw new IllegalArgumentException("a number of more than 64 bits");
  }

  private static long fixed(byte[] b, int[] at, int n) {
    if (n > b.length - at[0]) {
      throw new IllegalArgumentException("a message is cut short");
    }
    long v = 0;
    for (int i = 0; i < n; i++) {
      v |= (b[at[0]++] & 0xffL) << (8 * i);
    }
    return v;
  }
}
