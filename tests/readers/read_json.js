// Reads JSON from its input with JavaScript's own parser; a number that is infinite or a half surrogate is none of its. Prints OK.
const text = new TextDecoder('utf-8', { fatal: true }).decode(require('fs').readFileSync(0));
JSON.parse(text, (_, value) => {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new Error('infinite');
  if (typeof value === 'string' && /[\ud800-\udfff]/u.test(value)) throw new Error('half a surrogate pair');
  return value;
});
console.log('OK');
