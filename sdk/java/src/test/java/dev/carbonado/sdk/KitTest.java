package dev.carbonado.sdk;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.io.PipedInputStream;
import java.io.PipedOutputStream;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.Test;

public class KitTest {
  private static final HexFormat HEX = HexFormat.of();

  /** The frames of sdk/proto/vectors, which the Go SDK writes and reads too. */
  @Test
  public void goldenFrames() throws Exception {
    JsonNode all = new ObjectMapper().readTree(new File("../proto/vectors/frames.json"));
    assertTrue(all.size() >= 5);
    for (JsonNode v : all) {
      Frame f = Frame.of(v.get("kind").asInt());
      f.linkSeq = number(v, "linkSeq");
      f.source = Arrays.copyOf(hex(v, "source"), 16);
      f.counter = number(v, "counter");
      f.part = v.get("part").asInt();
      f.parts = v.get("parts").asInt();
      f.stream = (int) number(v, "stream");
      f.schema = ByteBuffer.wrap(Arrays.copyOf(hex(v, "schema"), 8)).order(ByteOrder.LITTLE_ENDIAN).getLong();
      f.rows = v.get("rows").asInt();
      f.tenant = v.get("tenant").asInt();
      f.epoch = number(v, "epoch");
      f.trace = Arrays.copyOf(hex(v, "trace"), 25);
      f.body = hex(v, "body");
      String name = v.get("name").asText();
      assertEquals(name, v.get("frame").asText(), HEX.formatHex(f.write()));
      Frame read = Frame.read(hex(v, "frame"));
      assertArrayEquals(name, f.write(), read.write());
    }
  }

  private static byte[] hex(JsonNode v, String field) {
    return HEX.parseHex(v.get(field).asText());
  }

  private static long number(JsonNode v, String field) {
    return new BigInteger(v.get(field).asText()).longValue();
  }

  @Test
  public void damagedFrames() {
    Frame f = Frame.of(Frame.BATCH);
    f.body = new byte[] {1, 2, 3};
    byte[] good = f.write();
    for (int i = 0; i < Frame.HEADER + 3; i++) {
      byte[] bad = good.clone();
      bad[i] ^= 4;
      int at = i;
      assertThrows("byte " + at, IllegalArgumentException.class, () -> Frame.read(bad));
    }
    assertThrows(IllegalArgumentException.class, () -> Frame.read(Arrays.copyOf(good, good.length - 8)));
    assertThrows(IllegalArgumentException.class, () -> Frame.read(new byte[0]));
  }

  @Test
  public void wire() {
    byte[] b = Wire.message().number(1, -1).string(2, "a").message(3, Wire.message().flag(1, true)).map(4, Map.of("k", "v")).number(5, 0).done();
    Wire.Fields f = Wire.read(b);
    assertEquals(-1, f.number(1));
    assertEquals("a", f.string(2));
    assertTrue(f.messages(3).get(0).flag(1));
    assertEquals(Map.of("k", "v"), f.map(4));
    assertFalse(f.has(5));
    assertEquals("", f.string(99));
    for (int n = 1; n < b.length; n++) {
      byte[] cut = Arrays.copyOf(b, n);
      try {
        Wire.read(cut);
      } catch (IllegalArgumentException e) {
        continue; // cut within a field
      }
    }
    assertThrows(IllegalArgumentException.class, () -> Wire.read(new byte[] {0x0a, 5, 1}));
    assertThrows(IllegalArgumentException.class, () -> Wire.read(new byte[] {0x0b}));
  }

  @Test
  public void lifeline() throws Exception {
    PipedOutputStream guardian = new PipedOutputStream();
    CountDownLatch ended = new CountDownLatch(1);
    Lifeline l = Lifeline.watch(new PipedInputStream(guardian), ended::countDown);
    assertFalse(l.admits(new Peer(0, 0)));
    guardian.write("weather sunny\nkernel x y\nkernel 7 8\n".getBytes(StandardCharsets.US_ASCII));
    guardian.flush();
    assertTrue(l.known(10));
    assertTrue(l.admits(new Peer(7, 8)));
    assertTrue(l.admits(new Peer(0, 8)));
    assertFalse(l.admits(new Peer(9, 8)));
    assertFalse(l.admits(new Peer(7, 0)));
    guardian.close();
    assertTrue(ended.await(10, TimeUnit.SECONDS));
  }
}
