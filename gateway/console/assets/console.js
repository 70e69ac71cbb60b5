// What pages gain with a script; without it they work all the same.

const local = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })
for (const moment of document.querySelectorAll('[data-moment]')) {
  moment.title = moment.textContent
  moment.textContent = local.format(new Date(moment.dateTime))
}

const countdowns = document.querySelectorAll('[data-countdown]')
function count() {
  for (const place of countdowns) {
    const left = Math.max(0, Math.ceil((Date.parse(place.dataset.countdown) - Date.now()) / 1000))
    const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60]
    const two = (number) => String(number).padStart(2, '0')
    place.textContent = `${hours > 0 ? `${hours}:${two(minutes)}` : minutes}:${two(seconds)}`
  }
}
if (countdowns.length > 0) {
  count()
  setInterval(count, 1000)
}

// A reason that is required is required of who approves only.
for (const reason of document.querySelectorAll('[data-required]')) {
  for (const button of reason.form.querySelectorAll('button[name=answer]')) {
    button.addEventListener('click', () => {
      reason.required = button.value === 'approve'
    })
  }
}

// One click is one answer.
for (const form of document.querySelectorAll('form')) {
  form.addEventListener('submit', (event) => {
    if (form.dataset.sent !== undefined) return event.preventDefault()
    form.dataset.sent = ''
  })
}
addEventListener('pageshow', (event) => {
  if (event.persisted) location.reload()
})

// What has changed is shown by itself, unless somebody is writing; then it is said.
const status = document.querySelector('[data-approval]')
const list = document.querySelector('[data-list]')
const told = document.createElement('p')
told.className = 'notice warn'
told.setAttribute('role', 'alert')
async function look() {
  try {
    const path = status ? `/approvals/${status.dataset.approval}/state` : '/approvals/state'
    const answer = await fetch(path, { cache: 'no-store', headers: { accept: 'application/json' } })
    if (answer.status === 401) return location.reload()
    if (!answer.ok) return
    const now = await answer.json()
    const same = status
      ? now.state === status.dataset.state && String(now.answers) === status.dataset.answers
      : now.pending === list.dataset.list
    if (same) return
    const writing = [...document.querySelectorAll('textarea')].some(({ value }) => value !== '')
    if (!writing) return location.reload()
    told.textContent = 'Something has changed here since you began to write. Reload the page to see it.'
    document.querySelector('main').prepend(told)
  } catch {
    // The gateway is away for a moment: the next look tells.
  }
}
if ((status && status.dataset.state === 'pending') || list) setInterval(() => void look(), 3000)
