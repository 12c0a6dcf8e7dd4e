package dev.carbonado.sdk;

import io.grpc.KnownLength;
import io.grpc.MethodDescriptor;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;

/** gRPC methods whose messages are carried as their bytes. */
public final class Bytes {
  private Bytes() {}

  private static final MethodDescriptor.Marshaller<byte[]> MARSHALLER = new MethodDescriptor.Marshaller<>() {
    @Override
    public InputStream stream(byte[] value) {
      return new Stream(value);
    }

    @Override
    public byte[] parse(InputStream in) {
      try {
        byte[] out = new byte[in instanceof KnownLength ? in.available() : 0];
        int n = in.readNBytes(out, 0, out.length);
        byte[] rest = in.readAllBytes();
        if (rest.length == 0 && n == out.length) {
          return out;
        }
        byte[] all = java.util.Arrays.copyOf(out, n + rest.length);
        System.arraycopy(rest, 0, all, n, rest.length);
        return all;
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  };

  private static final class Stream extends ByteArrayInputStream implements KnownLength {
    Stream(byte[] b) {
      super(b);
    }
  }

  /** A method, named "package.Service/Method". */
  public static MethodDescriptor<byte[], byte[]> method(MethodDescriptor.MethodType type, String fullName) {
    return MethodDescriptor.newBuilder(MARSHALLER, MARSHALLER).setType(type).setFullMethodName(fullName).build();
  }

  public static MethodDescriptor<byte[], byte[]> unary(String fullName) {
    return method(MethodDescriptor.MethodType.UNARY, fullName);
  }
}
