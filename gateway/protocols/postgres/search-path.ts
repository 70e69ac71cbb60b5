import { splitIdentifiers } from '../../sql/identifiers.ts'
import { addPath, pathOf } from '../../sql/settings.ts'

/** Longer lists of schemas stand for any. */
const CAP = 100

/** Every search_path of one session: a ROLLBACK may bring back an older one. */
export class SearchPath {
  readonly #parameters: ReadonlyMap<string, string>
  #schemas: readonly string[]
  #reported: string | null = null

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

  /** True where the server says what the path is, whatever set it (18 and later). */
  get isReported(): boolean {
    return this.#parameters.has('search_path')
  }

  add(path: readonly string[]): void {
    const all = addPath(this.#schemas, path)
    this.#schemas = all.length > CAP ? ['*'] : all
  }

  takeReported(): void {
    const reported = this.#parameters.get('search_path')
    if (reported === undefined || reported === this.#reported) return
    this.#reported = reported
    this.add(pathOf(splitIdentifiers(reported, ',') ?? [null]))
  }
}
