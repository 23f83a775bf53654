/** Unpack the page's data: base64(gzip(header length, header, columns)), as graphs/page/pack_columns.py packs them. */

const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };

/** @returns {Promise<{header: object, columns: Object<string, ArrayLike<number>>}>} */
export async function unpack(text) {
  const stream = new Blob([bytesOf(atob(text.trim()))]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const columns = {};
  let start = 4 + length;
  for (const { name, type, length: count } of header.columns) {
    const size = ARRAYS[type].BYTES_PER_ELEMENT;
    columns[name] = fromPlanes(bytes.subarray(start, start + size * count), ARRAYS[type], count);
    start += size * count;
  }
  return { header, columns };
}

function bytesOf(letters) {
  const bytes = new Uint8Array(letters.length);
  for (let n = 0; n < letters.length; n++) bytes[n] = letters.charCodeAt(n);
  return bytes;
}

function fromPlanes(planes, Type, count) {
  const size = Type.BYTES_PER_ELEMENT;
  const whole = new Uint8Array(size * count);
  for (let byte = 0; byte < size; byte++) {
    for (let n = 0; n < count; n++) whole[n * size + byte] = planes[byte * count + n];
  }
  return new Type(whole.buffer);
}
