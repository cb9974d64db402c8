"""The domain that the API and the workers share: knows no HTTP and no GPU."""
