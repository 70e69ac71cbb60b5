import { splitIdentifiers } from '../../sql/identifiers.ts'
import { addPath, pathOf } from '../../sql/settings.ts'

/** Longer lists of schemas stand for any. */
const CAP = 100

/** Every search_path of one session: a ROLLBACK may bring back an older one. */
export class SearchPath {
  readonly #parameters: ReadonlyMap<string, string>
  #schemas: readonly string[]
  #reported: string | null = null
  /** What it is again once the server has said what it is; null where it is known. */
  #before: readonly string[] | null = null

  /** `parameters` are what the server reports of its settings. */
  constructor(schemas: readonly string[], parameters: ReadonlyMap<string, string>) {
    this.#schemas = schemas
    this.#parameters = parameters
    this.takeReported()
  }

  /** The schemas as `SqlContext.searchPath` has them: another array whenever they may have changed. */
  get schemas(): readonly string[] {
    return this.#schemas
  }

  /** Adds a path that may be in force from here on. */
  add(path: readonly string[]): void {
    this.#schemas = extended(this.#schemas, path)
    if (this.#before !== null) this.#before = extended(this.#before, path)
  }

  /** True while any path may be in force until the server says which. */
  get isLoose(): boolean {
    return this.#before !== null
  }

  /** Called when something was sent that may set any path: it may be in force until the server says what it is (18 and later), or for good. */
  loosen(): void {
    if (this.#parameters.has('search_path')) this.#before ??= this.#schemas
    this.#schemas = extended(this.#schemas, ['*'])
  }

  /** Called when the server has answered all that was sent, and its Sync: only then does it say what the path is. */
  fasten(): void {
    if (this.#before === null) return
    this.#schemas = this.#before
    this.#before = null
  }

  takeReported(): void {
    const reported = this.#parameters.get('search_path')
    if (reported === undefined || reported === this.#reported) return
    this.#reported = reported
    this.add(pathOf(splitIdentifiers(reported, ',') ?? [null]))
  }
}

function extended(schemas: readonly string[], path: readonly string[]): readonly string[] {
  const all = addPath(schemas, path)
  return all.length > CAP ? ['*'] : all
}
