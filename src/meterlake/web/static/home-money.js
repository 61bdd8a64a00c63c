// Money as people of a locale write it.
// @ts-check

/**
 * @param {number} amount
 * @param {string} currency three letters
 * @param {string} locale
 */
export function money(amount, currency, locale) {
  return new Intl.NumberFormat(locale, { style: "currency", currency }).format(amount);
}
