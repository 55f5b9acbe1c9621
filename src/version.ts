/** Version of this package; package.json must say the same (checked by a test). */
export const version = "0.1.0";
