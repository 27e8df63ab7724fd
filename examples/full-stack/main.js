const answer = document.querySelector("#answer");

try {
  const response = await fetch("/api/hello");
  const { message } = await response.json();
  answer.textContent = message;
} catch (error) {
  answer.textContent = `the API does not answer: ${error.message}`;
}
