"""What the tests of engines stand on: nodes, servers, models and prompts. No test lies here."""
