// Cells of a geohash as places on a map.
// @ts-check
const DIGITS = "0123456789bcdefghjkmnpqrstuvwxyz";

/** South, west, north and east of a cell, in degrees. @param {string} hash */
export function boundsOf(hash) {
  const lat = [-90, 90];
  const lon = [-180, 180];
  let even = true;
  for (const digit of hash) {
    const bits = DIGITS.indexOf(digit);
    for (let at = 4; at >= 0; at -= 1) {
      const axis = even ? lon : lat;
      const middle = (axis[0] + axis[1]) / 2;
      axis[(bits >> at) & 1 ? 0 : 1] = middle;
      even = !even;
    }
  }
  return { south: lat[0], west: lon[0], north: lat[1], east: lon[1] };
}

/** A cell as GeoJSON. @param {string} hash */
export function featureOf(hash) {
  const { south, west, north, east } = boundsOf(hash);
  const ring = [[west, south], [east, south], [east, north], [west, north], [west, south]];
  return { type: "Feature", id: hash, properties: {}, geometry: { type: "Polygon", coordinates: [ring] } };
}

/** Middle of some cells, and how near to look so that all are seen. @param {string[]} hashes */
export function viewOf(hashes) {
  const all = hashes.map(boundsOf);
  const south = Math.min(...all.map((one) => one.south));
  const north = Math.max(...all.map((one) => one.north));
  const west = Math.min(...all.map((one) => one.west));
  const east = Math.max(...all.map((one) => one.east));
  const span = Math.max(east - west, (north - south) * 1.6, 0.002);
  return { center: { lat: (south + north) / 2, lon: (west + east) / 2 }, zoom: Math.max(0, Math.min(16, Math.log2(360 / span) + 0.6)) };
}
