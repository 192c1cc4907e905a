// What has arrived and was not yet asked for. A test takes what it waits for, in any order between
// kinds and in the order of arrival within one; nothing that arrives early is lost.

/** No wait of a test is longer, but for those that state their own. */
export const waitMs = 5000;

export class Mailbox {
  #letters = [];
  #waiting = [];

  put(letter) {
    const index = this.#waiting.findIndex(({ match }) => match(letter));
    if (index === -1) {
      this.#letters.push(letter);
    } else {
      this.#waiting.splice(index, 1)[0].resolve(letter);
    }
  }

  /** The first letter that `match` accepts; an error that says what lies here after `ms`. */
  take(what, match, ms = waitMs) {
    const index = this.#letters.findIndex(match);
    if (index !== -1) {
      return Promise.resolve(this.#letters.splice(index, 1)[0]);
    }
    return within(`${what}`, () => `; here is ${JSON.stringify(this.#letters)}`, ms, (resolve) => {
      this.#waiting.push({ match, resolve });
    });
  }

  /** Whether a letter that `match` accepts has arrived by now. */
  holds(match) {
    return this.#letters.some(match);
  }
}

/** A promise that `start` resolves or rejects, with a deadline. */
export function within(what, details, ms, start) {
  // The stack of the caller is worth more than that of the timer.
  const late = new Error(`${what}: not within ${ms} ms`);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      late.message += details();
      reject(late);
    }, ms);
    const settle = (how) => (value) => {
      clearTimeout(timer);
      how(value);
    };
    start(settle(resolve), settle(reject));
  });
}
