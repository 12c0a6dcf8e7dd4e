package dev.carbonado.sdk;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.zip.CRC32C;

/** The binary layout in which events travel (docs/protocol.md, section 5). It does not know what a body holds. */
public final class Frame {
  public static final int OPEN = 1, SCHEMA = 2, BATCH = 3, DELETE = 4, TRUNCATE = 5, ACK = 6, CREDIT = 7, MARK = 8, ERROR = 9, CLOSE = 10;
  public static final int HEADER = 112, MAX = 4 << 20;
  private static final int MAGIC = 0x31464243;

  public int kind;
  public long linkSeq;
  public byte[] source = new byte[16];
  public long counter;
  public int part, parts;
  public int stream;
  public long schema; // its eight bytes as a little-endian number
  public int rows;
  public int tenant;
  public long epoch;
  public byte[] trace = new byte[25];
  public byte[] body = new byte[0];

  public static Frame of(int kind) {
    Frame f = new Frame();
    f.kind = kind;
    return f;
  }

  public byte[] write() {
    int size = HEADER + (body.length + 7 & ~7);
    if (size > MAX) {
      throw new IllegalArgumentException("a frame of " + size + " bytes");
    }
    byte[] out = new byte[size];
    ByteBuffer b = ByteBuffer.wrap(out).order(ByteOrder.LITTLE_ENDIAN);
    b.putInt(MAGIC).put((byte) kind).put((byte) 0).putShort((short) HEADER).putInt(body.length).putInt(0).putInt(sum(body, 0, body.length));
    b.putLong(linkSeq).put(source).putLong(counter).putShort((short) part).putShort((short) parts).putInt(stream).putLong(schema);
    b.putInt(rows).putInt(tenant).putLong(epoch).put(trace);
    System.arraycopy(body, 0, out, HEADER, body.length);
    b.putInt(12, sum(out, 0, HEADER));
    return out;
  }

  /** Reads one frame; bytes that are none give an IllegalArgumentException. */
  public static Frame read(byte[] in) {
    ByteBuffer b = ByteBuffer.wrap(in).order(ByteOrder.LITTLE_ENDIAN);
    if (in.length < HEADER || b.getInt(0) != MAGIC) {
      throw new IllegalArgumentException("bytes are not a frame");
    }
    int header = b.getShort(6) & 0xffff, n = b.getInt(8);
    if (header < HEADER || header % 8 != 0 || n < 0 || n > MAX || in.length != header + (n + 7 & ~7)) {
      throw new IllegalArgumentException("a frame has wrong sizes");
    }
    int want = b.getInt(12);
    CRC32C c = new CRC32C();
    c.update(in, 0, 12);
    c.update(new byte[4]);
    c.update(in, 16, header - 16);
    if ((int) c.getValue() != want) {
      throw new IllegalArgumentException("a frame's checksum is wrong");
    }
    Frame f = new Frame();
    f.kind = in[4];
    b.position(20);
    f.linkSeq = b.getLong();
    b.get(f.source);
    f.counter = b.getLong();
    f.part = b.getShort() & 0xffff;
    f.parts = b.getShort() & 0xffff;
    f.stream = b.getInt();
    f.schema = b.getLong();
    f.rows = b.getInt();
    f.tenant = b.getInt();
    f.epoch = b.getLong();
    b.get(f.trace);
    f.body = Arrays.copyOfRange(in, header, header + n);
    if (sum(f.body, 0, n) != b.getInt(16)) {
      throw new IllegalArgumentException("the checksum of a frame's body is wrong");
    }
    return f;
  }

  private static int sum(byte[] b, int from, int n) {
    CRC32C c = new CRC32C();
    c.update(b, from, n);
    return (int) c.getValue();
  }
}
